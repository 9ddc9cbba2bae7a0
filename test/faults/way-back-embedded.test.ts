import { wayBack } from './way-back.js';

wayBack('embedded');
