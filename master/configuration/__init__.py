"""config.py and .env, read into one frozen ``Settings`` tree."""
