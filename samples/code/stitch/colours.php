<?php
declare(strict_types=1);

/** Chooses the thread whose colour is nearest to a given one, by a weighted distance. */
final class ThreadBox
{
    /** @param array<string, array{int, int, int}> $threads red, green and blue by name */
    public function __construct(private array $threads)
    {
        if ($threads === []) {
            throw new InvalidArgumentException('an empty box has no nearest thread');
        }
    }

    public function nearest(int $red, int $green, int $blue): string
    {
        $best = '';
        $least = INF;
        foreach ($this->threads as $name => [$r, $g, $b]) {
            $distance = 2 * ($r - $red) ** 2 + 4 * ($g - $green) ** 2 + 3 * ($b - $blue) ** 2;
            if ($distance < $least) {
                $least = $distance;
                $best = $name;
            }
        }
        return $best;
    }
}

$box = new ThreadBox(['madder' => [164, 48, 44], 'weld' => [226, 190, 60], 'woad' => [52, 84, 140]]);
echo $box->nearest(60, 90, 150), PHP_EOL;
