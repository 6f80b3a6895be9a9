// Package rotation keeps the robots of one installation minted, permitted, rotated and retired, without ever
// breaking a pull.
//
// A configured robot is realized as generations: Quay robots "<base>_g<number>". [Plan] is the pure heart: from
// what one list of the organization shows ([Chain]) and the time, it derives what to serve, what to do next and when
// to look again. [Memory] is what a process must remember between lists, also pure. [Engine] lists, plans and
// performs; it alone does I/O. Quay is the only store: a process that starts anew lists once and goes on.
//
// The rules are written down in docs/rotation.md, each with what goes wrong without it; the code names them "rule N".
package rotation
