"""The workshop: fits, exports and packs models; torch lives here and only here."""
