"""What tests of atp-trio, and of programs that use it, need: real machines and a guest to run in them."""
