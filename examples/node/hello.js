const { connect, listen } = require('libruntime');

const echo = { data: (socket, chunk) => socket.write(chunk) };
listen({ hostname: '127.0.0.1', socket: echo }).then((server) => {
  connect({ hostname: '127.0.0.1', port: server.port, socket: {
    open: (socket) => socket.write('hello over libruntime'),
    data(socket, chunk) {
      console.log(`${chunk}`);
      socket.end();
      server.stop();
    } } });
});
