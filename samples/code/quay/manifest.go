package quay

import (
	"bufio"
	"fmt"
	"io"
	"sort"
	"strconv"
	"strings"
)

// Crate is one line of a cargo list.
type Crate struct {
	Owner string
	Kilos int
}

// ReadCargo reads lines of the form "owner<TAB>kilos".
func ReadCargo(r io.Reader) ([]Crate, error) {
	var crates []Crate
	lines := bufio.NewScanner(r)
	for number := 1; lines.Scan(); number++ {
		owner, weight, found := strings.Cut(lines.Text(), "\t")
		if !found {
			return nil, fmt.Errorf("line %d: no tab in %q", number, lines.Text())
		}
		kilos, err := strconv.Atoi(strings.TrimSpace(weight))
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		crates = append(crates, Crate{Owner: owner, Kilos: kilos})
	}
	return crates, lines.Err()
}

// Heaviest returns the n heaviest crates, without changing the order of its argument.
func Heaviest(crates []Crate, n int) []Crate {
	sorted := append([]Crate(nil), crates...)
	sort.SliceStable(sorted, func(i, j int) bool { return sorted[i].Kilos > sorted[j].Kilos })
	if n < len(sorted) {
		sorted = sorted[:n]
	}
	return sorted
}
