"""The sheet: one page on which a person sees the verdict, the images behind it, and what to be careful about."""
