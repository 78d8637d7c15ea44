-- How many balls of yarn a jumper needs, from a swatch of ten by ten centimetres.
local Yarn = {}
Yarn.__index = Yarn

function Yarn.new(grams_per_ball, swatch_grams)
  assert(swatch_grams > 0, "the swatch must weigh something")
  return setmetatable({ ball = grams_per_ball, swatch = swatch_grams }, Yarn)
end

function Yarn:balls(width_cm, length_cm, reserve)
  local area = 2 * width_cm * length_cm -- front and back
  local grams = area / 100 * self.swatch * (1 + (reserve or 0.1))
  return math.ceil(grams / self.ball)
end

local wool = Yarn.new(50, 4.2)
print(("body: %d balls"):format(wool:balls(52, 64)))

return Yarn
