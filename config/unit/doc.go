// Package unit reads and writes sizes and durations, and reads parts, as people write them in a
// configuration: 16MiB, 7d, 1d12h. What it writes it reads again to the same value.
package unit
