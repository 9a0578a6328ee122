"""The clinical workflow: planning CT, verification CT, answer."""
