// The same instance as `require('libruntime')`: there is only one of everything in a thread.
import libruntime from './index.js';

export const { Listener, Socket, connect, listen, version } = libruntime;
export default libruntime;
