package config

import "context"

// Poll is Watch on a system that notifies of nothing.
func Poll(ctx context.Context, current *Config, apply func(*Config) error, report func(error)) {
	newWatch(current, apply, report).follow(ctx, nil, nil)
}
