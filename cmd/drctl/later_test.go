package main
import "testing"
func testKill(t *testing.T, w *world) {}
func testDamage(t *testing.T, w *world) {}
func testDisaster(t *testing.T, w *world) {}
