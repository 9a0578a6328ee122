"""Where the lesion of the planning CT lies in the verification CT: first by shifts, then by rigid motions."""
