"""DICOM in: CT series, segmentations and structure sets. Nothing outside knows pydicom."""
