package process

import (
	"context"
	"errors"
	"fmt"
	"net"
)

// portTries bounds OnFreePort. One conflict is bad luck, five are a fault.
const portTries = 5

// OnFreePort calls start with a loopback port that was free a moment ago, and
// again with another one while start reports ErrAddressInUse. It is for
// programs that cannot be told to take port 0: nobody can hold the port for
// them, so somebody else may be faster.
func OnFreePort(ctx context.Context, start func(ctx context.Context, port int) error) error {
	for range portTries {
		port, err := freePort(ctx)
		if err != nil {
			return err
		}
		if err := start(ctx, port); !errors.Is(err, ErrAddressInUse) {
			return err
		}
	}
	return fmt.Errorf("%w on each of %d free ports", ErrAddressInUse, portTries)
}

func freePort(ctx context.Context) (int, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("looking for a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
