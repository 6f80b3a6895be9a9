package quaygen

// Rendered is how many answers a service keeps.
func Rendered(s *Service) (n int) {
	s.rendered.Range(func(any, any) bool { n++; return true })
	return n
}
