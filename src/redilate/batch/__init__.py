"""Thousands of prompts: read, planned, drawn by one worker or many, kept once each."""
