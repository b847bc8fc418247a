'use strict';

const binding = require('./lib/binding.js');
const { connect } = require('./lib/connect.js');
const { listen } = require('./lib/listen.js');
const { Listener } = require('./lib/listener.js');
const { Socket } = require('./lib/socket.js');

module.exports = { Listener, Socket, connect, listen, version: binding.version() };
