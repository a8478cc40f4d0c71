"""Alert rules: read from the file of a person's, judged by the beat, shown."""
