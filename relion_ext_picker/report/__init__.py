"""What people look at: plots, the PDF report, progress."""
