"""What a person or a client touches; nothing below imports from here."""
