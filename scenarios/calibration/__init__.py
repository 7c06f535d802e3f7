"""A device's media from a recording of its completion times.

``calibrate`` is the way in.  ``recording`` reads one and holds a part of it back, ``servicetimes`` takes the
waiting out of the times, ``mediafit`` fits the flash and ``cachefit`` the write cache in front of it.
"""
