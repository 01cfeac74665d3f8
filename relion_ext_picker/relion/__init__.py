"""All that knows RELION: labels, STAR tables, the job directory, job.star templates."""
