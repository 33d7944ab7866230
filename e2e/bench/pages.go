package main

func (b *bench) pages(dir string) error { return nil }
