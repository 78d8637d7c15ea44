# -*- coding: latin-1 -*-
# Größe in Fuß
HEIGHT = 6
