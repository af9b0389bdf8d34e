"""From image bytes to pixels on surfaces: decoding through the caches, the drawing operations, cursor shapes.

Sans-IO: no clock, no socket, no Trio. `screen.Screen` is the door for what a display channel says, `cursor.CursorCache` for
what a cursor channel says.
"""
