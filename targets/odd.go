package targets

import (
	"crypto/sha256"
	"encoding/hex"
)

// OddBucket is the bucket of a sandbox's server that holds the objects whose
// keys the server cannot hold, each under OddName of its key.
const OddBucket = "drctl-odd-keys"

// OddName is the name of such an object: the SHA-256 of its key, in hex.
func OddName(key string) string {
	h := sha256.Sum256([]byte(key))
	return hex.EncodeToString(h[:])
}
