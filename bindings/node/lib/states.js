'use strict';
// How far a socket has come.

module.exports = { OPENING: 0, OPEN: 1, CLOSED: 2 };
