# Draws contour lines of a made-up island, to check the legend of the printed map.
island <- function(x, y) {
  peak <- 640 * exp(-((x - 2)^2 + (y - 1)^2) / 3)
  ridge <- 210 * exp(-((x + 1)^2 / 6 + (y + 2)^2 / 2))
  pmax(peak + ridge - 60, 0)
}

x <- seq(-5, 6, length.out = 160)
y <- seq(-5, 5, length.out = 160)
height <- outer(x, y, island)

levels <- seq(0, 600, by = 50)
share_above <- vapply(levels, function(level) mean(height > level), numeric(1))
print(data.frame(level = levels, share = round(share_above, 3)))

contour(x, y, height, levels = levels, asp = 1, drawlabels = TRUE)
