//go:build !unix

package ledger

import (
	"errors"
	"os"
)

// tryLock refuses: without a lock two processes could rotate the same robot.
func tryLock(*os.File) error {
	return errors.New("files cannot be locked on this system; use ledger.kubernetes")
}
