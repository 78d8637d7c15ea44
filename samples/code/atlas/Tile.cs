using System;

namespace Atlas;

/// <summary>A square of a map at a zoom level; level z has 2^z tiles along each side.</summary>
public readonly record struct Tile(int Zoom, int X, int Y)
{
    public static Tile Containing(double longitude, double latitude, int zoom)
    {
        if (zoom is < 0 or > 22)
        {
            throw new ArgumentOutOfRangeException(nameof(zoom), zoom, "expected 0 to 22");
        }
        double n = Math.Pow(2, zoom);
        double phi = latitude * Math.PI / 180;
        double x = (longitude + 180) / 360 * n;
        double y = (1 - Math.Asinh(Math.Tan(phi)) / Math.PI) / 2 * n;
        int last = (int)n - 1;
        return new Tile(zoom, Math.Clamp((int)x, 0, last), Math.Clamp((int)y, 0, last));
    }

    public Tile Parent => Zoom == 0 ? this : new Tile(Zoom - 1, X / 2, Y / 2);
}
