-- | Three map projections of the sphere, and the distortion of area that each of them brings.
module Projection
  ( Degrees
  , Point
  , mercator
  , gallPeters
  , plateCarree
  , areaScale
  ) where

type Degrees = Double
type Point = (Double, Double)

radians :: Degrees -> Double
radians d = d * pi / 180

mercator :: Degrees -> Degrees -> Maybe Point
mercator lon lat
  | abs lat >= 89.5 = Nothing
  | otherwise = Just (radians lon, log (tan (pi / 4 + radians lat / 2)))

gallPeters :: Degrees -> Degrees -> Point
gallPeters lon lat = (radians lon / sqrt 2, sqrt 2 * sin (radians lat))

plateCarree :: Degrees -> Degrees -> Point
plateCarree lon lat = (radians lon, radians lat)

-- | How many times too large a small square at this latitude is drawn by Mercator.
areaScale :: Degrees -> Double
areaScale lat = 1 / (c * c)
  where
    c = cos (radians lat)
