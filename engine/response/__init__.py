"""Response to neoadjuvant treatment: lesion patches and their FM-LCT features."""
