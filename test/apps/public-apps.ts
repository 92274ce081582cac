/** Public app at a fixed commit. */
export interface PublicApp {
  /** `OWNER/NAME` on GitHub */
  repository: string;
  commit: string;
  /** answers that show that the app works, by path */
  answers?: Record<string, RegExp>;
  /** last lines of the push if the app cannot run as it is: the next step */
  refusal?: RegExp;
}

/** Popular self-hosted apps, starters and examples of many kinds. None of them is changed or configured. */
export const publicApps: PublicApp[] = [
  {
    repository: 'socketio/chat-example',
    commit: '3c7903c2d0aaaa660edaf5d0b07375fe00224011',
    answers: { '/': /Socket\.IO chat/, '/socket.io/?EIO=4&transport=polling': /"sid":/ },
  },
  {
    repository: 'Rob--W/cors-anywhere',
    commit: '70aaa22b3f9ad30c8566024bf25484fd1ed9bda9',
    answers: { '/': /enables cross-origin requests/ },
  },
  {
    repository: 'gabrielecirulli/2048',
    commit: '478b6ec346e3787f589e4af751378d06ded4cbbc',
    answers: { '/': /<title>2048</, '/js/application.js': /GameManager/ },
  },
  {
    repository: '11ty/eleventy-base-blog',
    commit: 'e37a55c4c4705d7881929de5242ec50448b5eb0b',
    answers: { '/': /<title>Eleventy Base Blog/, '/blog/': /Archive|Posts/ },
  },
  {
    repository: 'cracker0dks/whiteboard',
    commit: '49c9cfd9ee00ee530e74655617c986969d8e7adb',
    answers: { '/': /<title>Whiteboard</ },
  },
  {
    repository: 'nestjs/typescript-starter',
    commit: 'c4d9330f5513eda0fb5df594f6b34a11fde1a934',
    answers: { '/': /^Hello World!$/ },
  },
  {
    repository: 'h5bp/html5-boilerplate',
    commit: 'b7e31d67f4cf83e23d51f4decc73618bf8bd77ba',
    answers: { '/': /style\.css/ },
  },
  {
    repository: 'tldraw/nextjs-template',
    commit: 'bb0efa343ba861bbd33a3d2cdc50123b7dc7fad9',
    answers: { '/': /<title>tldraw Next\.js app template<.* data-tldraw=/s },
  },
  {
    repository: 'antfu/vitesse-nuxt3',
    commit: '3a235915f2f6eb01217ae4cb068b15a29b220c00',
    answers: { '/': /Vitesse<\/span>/, '/api/pageview': /"pageview":\s*\d/ },
  },
  {
    repository: 'http-party/http-server',
    commit: '741ae2b482e283c96fd87e1744af06e7de9852ab',
    answers: { '/': /turtles strapped to rockets/, '/img/turtle.png': /^.PNG/ },
  },
  {
    repository: 'StartBootstrap/startbootstrap-clean-blog',
    commit: '1ebc4f8f3b6194335df237a2a7837955a5a4a9aa',
    answers: { '/': /<title>Clean Blog/, '/css/styles.css': /Start Bootstrap - Clean Blog/ },
  },
  {
    repository: 'ether/etherpad-lite',
    commit: 'b827f5b3d93bc79fc9014c7d9f8b900956b8af65',
    answers: { '/': /<title>Etherpad</, '/p/sluice': /editorcontainer/, '/api': /"currentVersion":/ },
  },
  {
    repository: 'jakearchibald/svgomg',
    commit: '1e1a1448f25761e7382cae5de2ba21f1e6ba439d',
    answers: { '/': /<title>SVGOMG/, '/manifest.json': /SVGOMG/ },
  },
  {
    repository: 'drawdb-io/drawdb',
    commit: '5c46fb8b7943a2399fff14a7b1fa230c552f3314',
    answers: { '/': /<title>drawDB/, '/editor': /<div id="root">/ },
  },
  {
    repository: 'localtunnel/server',
    commit: '78c06f8fc43ce0eacea2aeb88f2d1d63afaf4e19',
    answers: { '/api/status': /"tunnels":0/, '/?new': /"max_conn_count":/ },
  },
  {
    repository: 'mutoe/vue3-realworld-example-app',
    commit: '6dbfbe9d03df96e7c264ea55674529550a2664cc',
    answers: { '/': /<title>Conduit</ },
  },
  {
    repository: 'typicode/jsonplaceholder',
    commit: '7ae4432ac3f60e7226a899c25e04826207d07098',
    answers: { '/todos/1': /delectus aut autem/ },
  },
  {
    repository: 'schlagmichdoch/PairDrop',
    commit: '31ec776fb304fd7ddf0eeffba41b1631f712887b',
    answers: { '/': /PairDrop/ },
  },
  {
    repository: 'render-examples/express-hello-world',
    commit: '59bb07278c918ac8798e2532b4251f7c34e365f5',
    answers: { '/': /Hello from Render/ },
  },
  {
    repository: 'Azure-Samples/nodejs-docs-hello-world',
    commit: 'ab8695145fc34326f6b31b5d55eef4f7e22e7f18',
    answers: { '/': /Hello/ },
  },
  {
    repository: 'butlerx/wetty',
    commit: '374593d8b5465a841d150f276d520a4e27632789',
    answers: { '/': /<title>WeTTY/ },
  },
  {
    repository: 'peers/peerjs-server',
    commit: 'cfa79ac8607686ba5dfd5110e5ea5edfdb3fe61d',
    answers: { '/': /"name":"PeerJS Server"/, '/peerjs/id': /^[\da-f-]{36}$/ },
  },
  {
    repository: 'DumbWareio/DumbPad',
    commit: '0213fd811a089f277cabc068e57f8d1ecc03b15f',
    answers: { '/': />DumbPad - Simple Notes</, '/api/notepads': /"id":"default"/ },
  },
  {
    repository: 'hexojs/hexo-starter',
    commit: '8d82c48e0f2294fe88e7166f6dae383e3da406e6',
    answers: { '/': /<title>Hexo</, '/archives/': /Hello World/ },
  },
  {
    repository: 'toptal/haste-server',
    commit: 'a56763258b9a4a8fd589484351f027599a4f3515',
    answers: { '/': /<title>hastebin</, '/documents/about': /"key":"about"/ },
  },
  {
    repository: 'bastienwirtz/homer',
    commit: '6972395b62463d4eec8ec5a1b12e60e8d482088a',
    answers: { '/': /<title>Homer</, '/assets/manifest.json': /"Homer dashboard"/ },
  },
  {
    repository: 'nitrojs/starter',
    commit: 'd5dbe24d09e802fbbde6c30dfb09834f6bbff834',
    answers: { '/': /This is your brand new Nitro project/ },
  },
  {
    repository: 'digitalocean/sample-nodejs',
    commit: '2bb2580764a0f98aeecc8c4cf8a9f70a7a4bf254',
    answers: { '/': /<h1>[A-Z][\w ,-]+<\/h1><p>/, '/stylesheets/style.css': /padding/ },
  },
  {
    repository: 'joeferner/redis-commander',
    commit: 'b03e3c453c9c1cbcf296cb86898e503dcb7c3f75',
    answers: { '/': /<title>.*Redis Commander/ },
  },
  {
    repository: 'lovasoa/whitebophir',
    commit: 'ba5ce0821106d5ff792a840e2b53e2e32aa8f25e',
    answers: { '/': /<title>WBO/, '/socket.io/?EIO=4&transport=polling': /"sid":/ },
  },
  {
    repository: 'psi-4ward/psitransfer',
    commit: '8b547bf3e09757122efa00aab90281e3915aa0c6',
    answers: { '/': /<title>PsiTransfer/ },
  },
  {
    repository: 'bradtraversy/chatcord',
    commit: '81d7cf9f59e33f73e63a13662b049e1b32e6911a',
    refusal: /^ *Start Redis on the server \(Debian: `apt-get install redis-server`\), or set the address/m,
  },
  {
    repository: 'passport/todos-express-password',
    commit: '0505c28e2295ec2c642dc9e8e0f6107e7ba0f8aa',
    answers: { '/': /todos helps you get things done/, '/login': /Sign in/ },
  },
  {
    repository: 'vzhou842/example-.io-game',
    commit: 'd8ee37fa5a4307cdf1a5e683e2b434fc5b4df9a2',
    answers: { '/': /An example \.io game/i, '/socket.io/?EIO=4&transport=polling': /"sid":/ },
  },
  {
    repository: 'vuejs/docs',
    commit: '01e098a967951ea92d09b100b8e7d82c7a3369a2',
    answers: { '/': /The Progressive JavaScript Framework/, '/guide/introduction': /<title>Introduction/ },
  },
  {
    repository: 'antfu/vitesse',
    commit: 'de4341d582698d5b67e2e58ded316b25900c8523',
    answers: { '/': /Opinionated Vite Starter Template/, '/about': /About/ },
  },
  {
    repository: 'thedevs-network/kutt',
    commit: 'fc832d7e7243d5472714e17abfe84b908901e1a7',
    refusal: /^ *Set the value: sluice env set kutt JWT_SECRET=/m,
  },
  {
    repository: 'hagopj13/node-express-boilerplate',
    commit: '179ae84efec61b14206d0305d941daed6c6d07f9',
    refusal: /^ *Set the value: sluice env set node-express-boilerplate MONGODB_URL=/m,
  },
];
