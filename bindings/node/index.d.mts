import * as libruntime from './index.js';

export * from './index.js';
export default libruntime;
