// Package imagetest holds the tests of the whole image: built twice from clones of the last commit, and run.
//
// They take minutes of compiling, so `make image-test` runs them and `make test` does not. They need Linux, and root or
// user namespaces.
package imagetest
