"""Bytes in and out: WebSockets, REST, and captures as files; knows no market."""
