"""Side-by-side runs against other libraries. Nothing else imports this."""
