package ledger

// OpenFileWithin opens a ledger file without waiting for another process longer than its context lasts.
var OpenFileWithin = openFile
