package main
import "testing"
func testRefused(t *testing.T, w *world) {}
func testInstances(t *testing.T, w *world) {}
func testInterrupted(t *testing.T, w *world) {}
func testDiskFull(t *testing.T, w *world) {}
func testKill(t *testing.T, w *world) {}
func testDamage(t *testing.T, w *world) {}
func testDisaster(t *testing.T, w *world) {}
