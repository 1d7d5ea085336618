"""An exact decode and encode of large pictures, layer by layer over strips of rows."""
