// Checked by the compiler, never run.
import libruntime, { connect, listen, version, type Socket } from 'libruntime';

const one: typeof libruntime.connect = connect;
const two: typeof libruntime.listen = listen;
const socket: Promise<Socket> = connect({ port: 1, socket: {} });
void [one, two, socket, version];
