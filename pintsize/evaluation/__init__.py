"""What compression did to a table: errors of rows, neighbourhoods, rankings."""
