import { wayBack } from './way-back.js';

wayBack('azure');
