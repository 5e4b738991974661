"""The Discord-facing half, one file a concern: decorators, one service call, a rendering. No decisions."""
