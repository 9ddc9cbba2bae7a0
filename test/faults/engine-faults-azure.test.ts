import { engineFaults } from './engine-faults.js';

engineFaults('azure');
