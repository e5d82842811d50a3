"""How each runner spells its report: one small adapter each, over the streaming cores."""
