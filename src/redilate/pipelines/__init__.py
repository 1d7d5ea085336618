"""All that knows diffusers' pipelines: loading them, telling them apart, and putting a plan on one."""
