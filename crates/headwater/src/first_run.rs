//! What a server does when it starts in an empty folder: make a certificate, and say what to type next.
