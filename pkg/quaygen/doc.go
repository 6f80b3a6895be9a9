// Package quaygen hands out image pull secrets for private Quay organizations.
//
// [Service] is the door: every request, whatever way it came in, passes through [Service.Get], which decides whether
// the caller may have what it asks for, finds the credentials in memory and renders them. How robots are minted, rotated and
// retired is the business of package rotation; who a caller is, that of package auth.
package quaygen
