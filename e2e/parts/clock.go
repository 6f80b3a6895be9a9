package parts

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// WallClock names the environment variable that sets the wall clock of a program
// from ProductOffClock wrong: "7m" is 7 minutes ahead, "7m,15s,-7m" is that for 15
// seconds, and then 7 minutes behind. Without it the clock is right.
const WallClock = "QUAYGEN_E2E_WALL_CLOCK"

// What is put into package time. The monotonic clock, and with it every timer, goes
// on as it does: that is what a wrong clock looks like to a program.
const (
	nowAsItIs = "\tsec, nsec, mono := runtimeNow()\n\tif mono == 0 {"
	nowOff    = "\tsec, nsec, mono := runtimeNow()\n\tsec += wallOffset(mono)\n\tif mono == 0 {"

	wallOffset = `
var wall struct {
	offset, later int64 // seconds
	until         int64 // of the monotonic clock, nanoseconds
}

func init() {
	text, _ := syscall.Getenv("` + WallClock + `")
	if text == "" {
		return
	}
	seconds := func(text string) int64 {
		d, err := ParseDuration(text)
		if err != nil {
			panic(err)
		}
		return int64(d / Second)
	}
	parts := [3]string{}
	n := 0
	for _, c := range text {
		if c == ',' {
			n++
			continue
		}
		parts[n] += string(c)
	}
	wall.offset, wall.later, wall.until = seconds(parts[0]), seconds(parts[0]), 0
	if n > 0 {
		wall.until, wall.later = startNano+seconds(parts[1])*int64(Second), seconds(parts[2])
	}
}

func wallOffset(mono int64) int64 {
	if mono < wall.until {
		return wall.offset
	}
	return wall.later
}
`
)

// ProductOffClock builds programs of this repository as Product does, with a wall
// clock that can be set wrong (WallClock). Nothing else makes a program see another
// time: a time namespace moves the monotonic clocks only, and Go asks the kernel
// without the C library that others replace. The first build compiles everything
// anew, which takes minutes.
func ProductOffClock(ctx context.Context, dir string, packages ...string) error {
	root, err := goTool(ctx, "", "env", "GOROOT")
	if err != nil {
		return fmt.Errorf("locating package time: %w", err)
	}
	source := filepath.Join(root, "src", "time", "time.go")
	content, err := os.ReadFile(source)
	if err != nil {
		return fmt.Errorf("reading package time: %w", err)
	}
	text := string(content)
	if strings.Count(text, nowAsItIs) != 1 || strings.Count(text, "\nimport (\n") != 1 {
		return fmt.Errorf("%s is not as expected: see how time.Now works in this version of Go", source)
	}
	text = strings.Replace(text, nowAsItIs, nowOff, 1)
	text = strings.Replace(text, "\nimport (\n", "\nimport (\n\t\"syscall\"\n", 1) + wallOffset

	return productWith(ctx, dir, source, text, packages...)
}
